"""A hub in a FastAPI program.

curl -N localhost:8000/orders/7/events
curl -X POST localhost:8000/orders/7/pay
"""

from fastapi import FastAPI, Request

from tidewire import Hub, HubStream

hub = Hub()
app = FastAPI(lifespan=hub.lifespan)


@app.get("/orders/{id}/events")
async def events(request: Request, id: int) -> HubStream:
    return hub.stream(request, f"orders/{id}")


@app.post("/orders/{id}/pay")
async def pay(id: int) -> None:
    await hub.publish(f"orders/{id}", {"status": "paid"}, event="status")
