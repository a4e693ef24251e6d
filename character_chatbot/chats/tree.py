"""Which message follows which: the shape of a conversation without its texts. Pure.

tree = Tree([Node(1, None, 0), Node(2, 1, 0), Node(3, 1, 1)])     # two replies to message 1
tree.path(3)        # [1, 3]
tree.siblings(3)    # [2, 3]
tree.deepest(1)     # 3: below 1, the newest replies on
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Node(NamedTuple):
    """A message: its id, the one before it (None: a first message), its place among siblings, where one left off."""

    id: int
    parent: int | None
    position: int
    last_leaf: int | None = None


class Tree:
    """The messages of one conversation. Ids that are not in it raise KeyError."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._children: dict[int | None, list[int]] = {}
        for node in sorted(self._nodes.values(), key=lambda node: (node.position, node.id)):
            self._children.setdefault(node.parent, []).append(node.id)

    def __contains__(self, id: object) -> bool:
        return id in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def parent(self, id: int) -> int | None:
        return self._nodes[id].parent

    def children(self, id: int | None) -> list[int]:
        """In order of position; of None: the first messages."""
        return list(self._children.get(id, ()))

    def siblings(self, id: int) -> list[int]:
        """The message itself among those with the same parent, in order."""
        return self.children(self._nodes[id].parent)

    def neighbour(self, id: int, step: int) -> int:
        """The sibling ``step`` to the right (below 0: to the left); the outermost where there are no more."""
        siblings = self.siblings(id)
        return siblings[max(0, min(len(siblings) - 1, siblings.index(id) + step))]

    def path(self, leaf: int | None) -> list[int]:
        """From a first message to ``leaf``; empty for None."""
        path: list[int] = []
        while leaf is not None:
            path.append(leaf)
            leaf = self._nodes[leaf].parent
        return path[::-1]

    def deepest(self, id: int) -> int:
        """Where a reader left off below ``id``, else its newest line of descent."""
        left_off = self._nodes[id].last_leaf
        if left_off in self and id in self.path(left_off):
            id = int(left_off)  # type: ignore[arg-type]
        while self._children.get(id):
            id = self._children[id][-1]
        return id

    def subtree(self, id: int) -> list[int]:
        """The message and all that follows it, on every branch."""
        found, waiting = [], [id]
        while waiting:
            found.append(waiting.pop())
            waiting += self._children.get(found[-1], ())
        return found

    def fork(self, old: int | None, new: int | None) -> int | None:
        """The first message on the way to ``old`` that is not on the way to ``new``; None if there is none."""
        ahead = set(self.path(new))
        return next((id for id in self.path(old) if id not in ahead), None) if old in self else None
