"""``nnactive_phantom``: write a made-up dataset to try everything on."""

from __future__ import annotations

import argparse

from nnactive_ext.cli.failing import failing_clearly


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnactive_phantom",
        description="Write a made-up abdominal CT dataset (organ, vessel, lesion) to nnUNet_raw.",
    )
    parser.add_argument("-d", type=int, required=True, metavar="ID", help="number of the new dataset, e.g. 900")
    parser.add_argument("-n", type=int, default=24, metavar="CASES", help="number of cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other cases (default: %(default)s)")
    parser.add_argument("-name", default="Phantom", help="name of the new dataset (default: %(default)s)")
    return parser


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    # Imported late, so that --help answers at once.
    from nnactive_ext.phantom import write_dataset

    with failing_clearly():
        folder = write_dataset(options.d, options.n, options.seed, options.name)
    print(f"{options.n} cases: {folder}")


if __name__ == "__main__":
    main()
