"""From an AnnData to blocks of cells and genes."""
