"""What a network says in short: for the shell, and the same as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_network.page import scene_note
from character_network.page_ties import choose_page_ties

if TYPE_CHECKING:
    from character_network.network import Network
    from utils.announcements import Announcements

SHOWN = 10  # people, pairs and suggestions


def build_summary(network: Network, files: list[Path], announcements: Announcements) -> dict[str, Any]:
    """Plain values, ready for JSON."""
    people = network.people
    carried = choose_page_ties(network)
    groups = people[people["community"] >= 0].groupby("community")["person"].agg(list)
    return {
        "title": network.title,
        "people": len(people),
        "ties": len(network.pairs),
        "page": {"ties": carried.pairs, "note": carried.note},
        "episodes": len(network.episodes),
        "scenes": len(network.scenes),
        "scene_method": scene_note(network),
        "weights": dict(network.weights),
        "central": people.head(SHOWN).to_dict("records"),
        "pairs": network.pairs.head(SHOWN).to_dict("records"),
        "communities": [list(names) for names in groups],
        "central_by_episode": first_by_episode(network),
        "suggestions": [each.to_dict() for each in network.suggestions[:SHOWN]],
        "announcements": [each.to_dict() for each in announcements],
        "files": [str(file) for file in files],
    }


def first_by_episode(network: Network) -> list[dict[str, Any]]:
    """The strongest person of each episode."""
    first = network.central_by_episode.drop_duplicates(["season", "episode"])
    return [{str(key): value for key, value in row.items()} for row in first.to_dict("records")]


def print_summary(summary: dict[str, Any], accept: str) -> None:
    """The summary for people. ``accept``: the command that accepts a name, which follows it."""
    print(f"{summary['title']}: {summary['people']} people, {summary['ties']} ties, {summary['scenes']} scenes")
    print(f"  {summary['scene_method']}")
    if summary["page"]["note"]:
        print(f"  {summary['page']['note']}")
    print(f"\n{'most central':<24}{'strength':>9}{'between':>9}{'PageRank':>10}{'lines':>7}")
    for row in summary["central"]:
        print(
            f"  {row['person']:<22.22}{row['strength']:>9.0f}{row['betweenness']:>9.3f}"
            f"{row['pagerank']:>10.3f}{row['lines']:>7}"
        )
    print(f"\n{'strongest ties':<40}{'speaks':>8}{'together':>10}{'mentions':>10}")
    for row in summary["pairs"]:
        print(
            f"  {row['source'] + ' – ' + row['target']:<38.38}"
            f"{row['speaks']:>8}{row['together']:>10}{row['mentions']:>10}"
        )
    print("\ncommunities")
    for names in summary["communities"]:
        print(f"  {', '.join(names[:8])}" + (f" and {len(names) - 8} more" if len(names) > 8 else ""))
    if summary["suggestions"]:
        print(f"\nnames that nobody owns; accept one:  {accept} NAME    (or: NAME --alias-of CHARACTER)")
        for each in summary["suggestions"]:
            like = f", like {each['alias_of']}" if each["alias_of"] else ""
            print(f"  {each['name']} ({each['count']} x, {each['evidence']}{like})")
    for each in summary["announcements"]:
        print(f"\n{each['feature']}: {each['got']} instead of {each['wanted']}, because {each['why']}.")
    print("\nwritten\n  " + "\n  ".join(summary["files"]))
