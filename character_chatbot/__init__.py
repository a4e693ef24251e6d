"""Characters that answer: dialogues, bases, training, evaluation, engines."""
