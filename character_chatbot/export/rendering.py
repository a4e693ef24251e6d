"""What an export has come to, for people."""

from __future__ import annotations

from character_chatbot.export.exporting import ExportOutcome, ExportRequest

MIB = 2**20


def render_export(request: ExportRequest, outcome: ExportOutcome, registry: str) -> str:
    """Three sentences: where it is, how large, how well it agrees with torch."""
    record, agreement = outcome.record, outcome.record["agreement"]
    made = "is there already" if outcome.reused else "is written"
    place = request.out or f"{registry}, models/exported/{request.family}/{outcome.name}"
    rise = agreement["perplexity"] / agreement["torch_perplexity"] - 1
    return "\n".join(
        [
            f"{request.family} {outcome.name} {made}: {place}",
            f"{record['bits']} bits, {record['weights_bytes'] / MIB:,.0f} MiB of weights.",
            f"Compared with torch on {agreement['replies']} replies ({agreement['tokens']} tokens): "
            f"same most likely token {agreement['top_share']:.1%}, divergence {agreement['divergence']:.4f} nats, "
            f"mean difference of log-probabilities {agreement['difference']:.3f}, perplexity "
            f"{agreement['torch_perplexity']:.2f} to {agreement['perplexity']:.2f} ({rise:+.1%}), "
            f"greedy tokens alike {agreement['greedy_share']:.0%}.",
        ]
    )
