"""The REST endpoints, one module for each thing they are about."""

from __future__ import annotations

from typing import Final

from gateway.api import directories, files, labels, nodes, notices, sessions, system
from gateway.routing import endpoints

ENDPOINTS: Final = endpoints(sessions, nodes, files, labels, directories, notices, system)
