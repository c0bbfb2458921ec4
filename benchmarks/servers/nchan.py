"""Nchan, the nginx module: write a configuration for one worker and the memory store, and exec nginx."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import tempfile
from pathlib import Path

MODULES = [
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/share/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
]

CONFIG = """
load_module {module};
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    tcp_nodelay on;
    keepalive_requests 1000000;
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /events/bench {{
            nchan_publisher http;
            nchan_subscriber eventsource;
            nchan_channel_id bench;
            nchan_message_buffer_length 1000;
            nchan_message_timeout 10m;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""


def find() -> tuple[str, Path] | None:
    """Return nginx and the module, or None if either is missing."""
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    module = next((path for path in MODULES if path.exists()), None)
    return (nginx, module) if nginx and module else None


def main(port: int) -> None:
    found = find()
    if not found:
        sys.exit("nginx with the Nchan module is not installed")
    nginx, module = found
    folder = tempfile.mkdtemp(prefix="nchan-")
    # As root, nginx would switch to a user that cannot write to our folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    config = Path(folder, "nginx.conf")
    config.write_text(CONFIG.format(module=module, user=user, folder=folder, port=port))
    os.execv(nginx, [nginx, "-p", folder, "-e", f"{folder}/error.log", "-c", str(config)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
