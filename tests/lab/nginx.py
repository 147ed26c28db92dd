"""A real nginx on loopback in front of a keyserver."""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from pathlib import Path

from poolmgr.hosts import IPAddress
from poolmgr.model import Service
from tests.lab.authority import Identity
from tests.lab.process import Daemon, Running

_CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {tls}
    server {{
        {default_listens}
        default_type text/html;
        return 200 "<html><head><title>Welcome to nginx!</title></head><body></body></html>";
    }}
    server {{
        {listens}
        server_name {names};
        location /pks {{
            proxy_pass http://{backend};
            proxy_pass_header Server;
            add_header Via "1.1 $host (nginx)" always;
        }}
    }}
}}
"""


class Nginx(Running):
    """nginx with everything that it writes in `folder`. A context manager.

    It hands what is asked under `names` on to the keyserver at `backend` (address:port), and shows a page of its own
    under any other. It listens on the ports of the services that `listens` has for each address; hkps needs `identity`.
    """

    def __init__(
        self,
        folder: Path,
        backend: str,
        names: Sequence[str],
        listens: Mapping[IPAddress, Mapping[Service, int]],
        *,
        identity: Identity | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        self._listens = listens
        sockets = [
            f"{f'[{address}]' if address.version == 6 else address}:{port}{' ssl' if service is Service.HKPS else ''}"
            for address, ports in listens.items()
            for service, port in ports.items()
        ]
        conf = folder / "nginx.conf"
        conf.write_text(
            _CONF.format(
                folder=folder,
                backend=backend,
                names=" ".join(names),
                listens=" ".join(f"listen {each};" for each in sockets),
                default_listens=" ".join(f"listen {each} default_server;" for each in sockets),
                tls=""
                if identity is None
                else f"ssl_certificate {identity.chain}; ssl_certificate_key {identity.key};",
            )
        )
        self._daemon = Daemon(("nginx", "-p", folder, "-c", conf), folder / "nginx.log")

    def start(self) -> None:
        """Start nginx and return when it answers."""
        self._daemon.start(self._is_answering)

    def _is_answering(self) -> bool:
        address, ports = next(iter(self._listens.items()))
        connection = http.client.HTTPConnection(str(address), next(iter(ports.values())), timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True
