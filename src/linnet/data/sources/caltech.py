"""Caltech-UCSD Birds-200-2011 at its published address."""

NAME = "caltech"  # as a --source
URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1"
MD5 = "97eceeb196236b17998738112f37df78"
