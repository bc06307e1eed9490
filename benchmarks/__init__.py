"""What the figures in the documentation are made with: ratios measured within one run on one machine."""
