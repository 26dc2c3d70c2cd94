"""Features against neurons: Pearson correlation with every MLP neuron, and the neurons' own examples."""
