"""What is wrong with instruction data, found over a block of records at a time: mended, counted or dropped."""
