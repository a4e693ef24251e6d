"""What a series is about: a score for each theme in each scene, episode and season, with the lines that carry it.

    scores = ThemeClassifier(["Hope", "Despair"]).score(lines)

From the shell:  python -m theme_classifier --data data/sample_series --out results/themes
"""

from theme_classifier.classifier import ThemeClassifier

__all__ = ["ThemeClassifier"]
