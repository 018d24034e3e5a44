"""Scripts and data tables that make the sample corpora in the folder above."""
