"""What a network does: numbers (`measure`), one batch looked at (`inspect`), runs analysed (`report`)."""
