"""The 3D viewer that the report and the browser's pages run; ``vendor/README.md`` says where it comes from."""

from pathlib import Path

NIIVUE = Path(__file__).parent / "vendor" / "niivue.umd.js"
