"""Decoder directions: neighbours, relatives, the layout of the map."""
