"""From a model file to a network that runs on the chosen device."""
