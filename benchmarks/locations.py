"""How many labelled episodes give how good a location model, and which features help.

python benchmarks/locations.py --data data/sample_series

Each episode with known places is predicted by models fitted to 1, 2, … of the others, all choices of them. The penalty
and the temperature are chosen among the training episodes alone.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config import Settings
from text_classification.calibration import fit_calibrated
from text_classification.classifier import LocationClassifier
from text_classification.evaluation import confusion_matrix, macro_f1
from text_classification.scene_texts import Scene, build_scenes
from text_classification.tfidf import STRENGTHS, TfidfClassifier
from utils.places import load_places
from utils.series import load_lines, open_series, spoken_lines

MOST_CHOICES = 12  # of training episodes of one number, for one held-out episode
VARIANTS = ["tfidf-speakers", "tfidf+mentions"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/sample_series"))
    series = open_series(parser.parse_args().data)
    places, resolve = load_places(series.folder / "locations.jsonl"), series.characters.resolve
    lines = spoken_lines(load_lines(series)[0])
    classifier = LocationClassifier(places, model="tfidf", resolve=resolve)
    print(classifier.evaluate(lines, more=VARIANTS).table())
    scenes, _ = build_scenes(lines, places, Settings().locations.scene_lines, resolve)
    known = [scene for scene in scenes if scene.location]
    episodes = sorted({scene.key[:2] for scene in known})
    print("\ntraining episodes  scenes  macro F1  accuracy")
    for number in range(1, len(episodes)):
        print("{:17}  {:6.1f}  {:8.2f}  {:8.2f}".format(number, *score(known, episodes, number)))


def score(known: list[Scene], episodes: list[tuple[int, ...]], number: int) -> tuple[float, float, float]:
    """Training scenes, macro F1 and accuracy with ``number`` training episodes, over all choices together."""
    import numpy as np

    columns = sorted({scene.location for scene in known})
    truth, guess, sizes = [], [], []
    for held in episodes:
        others = [episode for episode in episodes if episode != held]
        for chosen in itertools.islice(itertools.combinations(others, number), MOST_CHOICES):
            learn = [scene for scene in known if scene.key[:2] in chosen]
            check = [scene for scene in known if scene.key[:2] == held]
            truth += [columns.index(scene.location) for scene in check]
            guess += [columns.index(place) for place in predict(learn, check)]
            sizes.append(len(learn))
    right = np.array(truth) == np.array(guess)
    matrix = confusion_matrix(np.array(truth), np.array(guess), len(columns))
    return float(np.mean(sizes)), macro_f1(matrix), float(right.mean())


def predict(learn: list[Scene], check: list[Scene]) -> list[str]:
    shared = TfidfClassifier().share()
    makers = [partial(TfidfClassifier, each, None, True, shared) for each in STRENGTHS]
    texts, labels = [scene.text for scene in learn], [scene.location for scene in learn]
    fitted = fit_calibrated(makers, texts, labels, [scene.key[:2] for scene in learn], Settings().locations.inner_folds)
    return [fitted.classes[at] for at in fitted.predict_proba([scene.text for scene in check]).argmax(axis=1)]


if __name__ == "__main__":
    main()
