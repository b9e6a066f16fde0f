"""Pictures as inline SVG, from plain numbers: heat maps, line charts, boards and bars."""
