"""Instruction data of other projects as canonical chats and preferences, by the shape of each record.

`record` holds the types, `recognise` tells shapes apart, `reading` cuts files into units, `converting`
makes a unit canonical; every other module is one shape.
"""
