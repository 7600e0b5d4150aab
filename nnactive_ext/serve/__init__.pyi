from .app import build
from .server import serve

__all__ = ["build", "serve"]
