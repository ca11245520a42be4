"""The formats, metadata and colours of pictures. Runs in the child `services.edge.image.decode` alone.

Each format has a module that reads the structure of a file and returns its `Essence`: the bytes that a decoder needs,
and the metadata on which the look of the pixels depends. Text, thumbnails, films and other metadata are left out
unread.
"""
