"""The sentence network that search by meaning uses: words in, one vector of unit length out."""
