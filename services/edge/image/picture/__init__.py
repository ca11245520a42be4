"""What the bytes of a picture are: formats, metadata and colours. Runs in the child `services.edge.image.decode` alone.

Each format has a module that reads the structure of a file and returns its `Essence`: the bytes that a decoder needs,
and what says how the decoded pixels look. Text, thumbnails, films and all other metadata are left out unread.
"""
