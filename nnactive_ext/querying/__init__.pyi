from .query import query_cycle

__all__ = ["query_cycle"]
