"""SE blocks that hardly react to the image, folded into the weights beside them."""
