"""Pictures before the networks see them: types, scale, grey, similarity, moves by parts of a pixel."""
