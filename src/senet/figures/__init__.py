"""What the figures of several pages share: their style, and gates by channel."""
