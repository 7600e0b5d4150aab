from .templates import render

__all__ = ["render"]
