"""nnactive_phantom: write a synthetic dataset to try everything on."""

from __future__ import annotations

import argparse

from nnactive_ext.cli.command import command


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_phantom",
        description="Writes a synthetic abdominal CT dataset with labels (organ, vessel, lesion) to nnUNet_raw.",
    )
    made.add_argument("-d", type=int, required=True, metavar="ID", help="number of the new dataset, e.g. 900")
    made.add_argument("-n", type=int, default=24, metavar="CASES", help="number of cases (default: %(default)s)")
    made.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="SEED",
        help="seed of the images; each seed gives other cases (default: %(default)s)",
    )
    made.add_argument(
        "-lesions",
        type=int,
        default=0,
        metavar="N",
        help="fewest lesions in each case, as far as the organ has room for them (default: %(default)s, and more than a third "
        "of the cases have none)",
    )
    made.add_argument("-name", default="Phantom", metavar="NAME", help="name of the new dataset (default: %(default)s)")
    return made


@command(parser, folders=False)
def main(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from nnactive_ext.phantom import write_dataset

    folder = write_dataset(options.d, options.n, options.seed, options.name, options.lesions)
    print(f"{options.n} cases: {folder}")


if __name__ == "__main__":
    main()
