"""Whether prompt lookup would make replies faster: how many tokens of real replies it guesses right.

    python benchmarks/speculation.py [--data DIR ...] [--guesses 1,2,3,5]

Prompt lookup (speculative decoding without a second model) guesses that the next tokens are those which followed the
last ones when these stood in the prompt or the reply before; a step then checks several tokens at once. Random weights
say nothing about that, so the held-out replies of a series are taken for what the model says: a model that draws its
words is guessed less often than that. A reply is faster only if the tokens a step gain more than the wider step costs;
benchmarks/serving.py has the seconds of a step of four tokens, as the rate of four users.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

LONGEST_NGRAM = 3  # GenAI's max_ngram_size
VOCABULARY = 8000
MOST_REPLIES = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, default=[PROJECT / "data" / "sample_series"], metavar="DIR")
    parser.add_argument("--guesses", default="1,2,3,5", metavar="A,B", help="tokens guessed in a step")
    arguments = parser.parse_args()
    guesses = [int(each) for each in arguments.guesses.split(",")]
    print(f"{'':<28}{'replies':>8}{'tokens':>8}" + "".join(f"{count:>7} at once" for count in guesses))
    for folder in arguments.data:
        pairs = read_pairs(folder)
        tokens = sum(len(reply) for _, reply in pairs)
        rates = [tokens / sum(count_steps(prompt, reply, count) for prompt, reply in pairs) for count in guesses]
        print(f"{folder.name:<28}{len(pairs):>8}{tokens:>8}" + "".join(f"{rate:>15.2f}" for rate in rates), flush=True)
    print("tokens a step; 1.00: no guess was right")
    return 0


def read_pairs(folder: Path) -> list[tuple[list[int], list[int]]]:
    """Prompts as they are served and the replies to them, of held-out episodes, in a vocabulary of the series."""
    from character_chatbot.corpus import load_corpus
    from character_chatbot.nano import FAMILIES, build_tokenizer
    from character_chatbot.training.examples import encode_dialogues
    from config import Settings

    settings, corpus = Settings(), load_corpus(folder)
    dialogues = corpus.build_dialogues(settings)
    tokenizer = build_tokenizer(FAMILIES["llama"], corpus.scenes(dialogues.training_episodes), VOCABULARY)
    examples = encode_dialogues(tokenizer, dialogues.held_out, dialogues, 4 * settings.training.max_length)
    chosen = examples[:: max(1, len(examples) // MOST_REPLIES)]
    return [(list(each.input_ids[: -len(each.reply_ids)]), list(each.reply_ids)) for each in chosen]


def count_steps(prompt: Sequence[int], reply: Sequence[int], guesses: int) -> int:
    """Steps of a model for ``reply``, of which each checks ``guesses`` tokens and says one of its own."""
    ids, said, steps = list(prompt), 0, 0
    while said < len(reply):
        guessed = look_up(ids, guesses)
        right = next((at for at, each in enumerate(guessed) if [each] != list(reply[said + at : said + at + 1])), None)
        taken = min(len(reply) - said, (len(guessed) if right is None else right) + 1)
        ids += reply[said : said + taken]
        said, steps = said + taken, steps + 1
    return steps


def look_up(ids: list[int], count: int) -> list[int]:
    """What followed the last three, two or one tokens where they stood last."""
    for length in range(LONGEST_NGRAM, 0, -1):
        last = ids[-length:]
        for at in range(len(ids) - length - 1, -1, -1):
            if ids[at : at + length] == last:
                return ids[at + length : at + length + count]
    return []


if __name__ == "__main__":
    raise SystemExit(main())
