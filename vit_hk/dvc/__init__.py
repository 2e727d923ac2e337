"""Helpers around DVC itself: repair of half-written files, and the offline page of its plots."""
