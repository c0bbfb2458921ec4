"""
A hub in a FastAPI program: `install(app, hub)` opens it with the program and answers its errors.
"""

from .starlette import install

__all__ = ["install"]
