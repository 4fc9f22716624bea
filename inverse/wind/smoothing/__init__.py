"""The force of all frames at once: a Gaussian process as prior, a linear model of the body."""
