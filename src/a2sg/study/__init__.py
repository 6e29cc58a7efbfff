"""What a network does: numbers (`measure`), a look at one batch (`inspect`), analysis of runs (`report`)."""
