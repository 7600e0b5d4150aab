"""nnactive_phantom: write a synthetic dataset to try everything on."""

from __future__ import annotations

import argparse

from nnactive_ext.cli.command import command
from nnactive_ext.errors import NnActiveError

KINDS = ("torso", "abdomen")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_phantom",
        description="Writes a synthetic abdominal CT dataset with labels to nnUNet_raw.",
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
        "-kind",
        choices=KINDS,
        default=KINDS[0],
        help="torso: organ, vessel and lesion; abdomen: 13 organs from the liver to the adrenals (default: %(default)s)",
    )
    made.add_argument("-name", metavar="NAME", help="name of the new dataset (default: Phantom, or Abdomen)")
    made.add_argument(
        "-lesions",
        type=int,
        default=0,
        metavar="N",
        help="fewest lesions in each case of a torso, as far as the organ has room for them (default: %(default)s; more than a "
        "third of the cases have none)",
    )
    return made


@command(parser, folders=False)
def main(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from nnactive_ext.abdomen import ABDOMEN
    from nnactive_ext.phantom import torso, write_dataset

    kind = dict(zip(KINDS, (torso(options.lesions), ABDOMEN), strict=True))[options.kind]
    if options.lesions and kind is ABDOMEN:
        raise NnActiveError("-lesions is for torsos: an abdomen has none.")
    folder = write_dataset(options.d, options.n, options.seed, options.name or "", kind)
    print(f"{options.n} cases: {folder}")


if __name__ == "__main__":
    main()
