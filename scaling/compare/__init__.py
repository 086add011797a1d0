"""Two trained runs side by side: do models of disjoint images converge to one function?"""
