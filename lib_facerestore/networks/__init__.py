"""Loading model files and running their networks on the chosen device."""
