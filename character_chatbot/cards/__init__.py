"""Character cards: the files in which other chat programs keep a character. See docs/cards.md.

    card = read_card(Path("seraphina.png"))          # card_file.py: JSON and PNG, V1, V2 and V3
    CardShelf(series / "cards").save(card)           # shelf.py
    character = to_character(card)                   # casting.py
    activate(card.book, texts, 300, count_tokens)    # activation.py: what the lorebook adds to a prompt

The specifications: https://github.com/malfoyslastname/character-card-spec-v2 and
https://github.com/kwaroran/character-card-spec-v3
"""
