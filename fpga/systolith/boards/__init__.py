"""Boards with an open tool flow: device, clock, pins and resources as data."""
