"""Records reference data for the integration tests. See README.md beside this file."""

import argparse
from pathlib import Path

import torch

DATA = Path(__file__).resolve().parent.parent / "data"
MODEL_DATA = DATA.parent.parent / "model" / "tests" / "data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder to write to (default: where the tests look)")
    commands = parser.add_subparsers(dest="command", required=True)
    smollm2 = commands.add_parser("smollm2", help="the demo model: tokens, chats, logits, greedy steps")
    smollm2.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    commands.add_parser("tiny", help="tiny random checkpoints and what they answer")
    commands.add_parser("warpers", help="sampling warpers on small logits vectors")
    commands.add_parser("rope", help="rope frequencies, for the tests of the model crate")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    out = args.out or (MODEL_DATA if args.command == "rope" else DATA)
    # Two threads wherever it runs: the order of a sum, and so its last bit, depends on their number.
    torch.set_num_threads(2)
    # Imported late: each recorder pulls in libraries the others do without.
    if args.command == "smollm2":
        import smollm2

        smollm2.record(args.gguf, out / "smollm2")
    elif args.command == "tiny":
        import tiny

        tiny.record(out / "tiny")
    elif args.command == "rope":
        import rope

        rope.record(out / "rope.json")
    else:
        import warpers

        warpers.record(out / "warpers.json")


if __name__ == "__main__":
    main()
