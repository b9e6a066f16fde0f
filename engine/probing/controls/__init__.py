"""What a score must be compared with before it means anything.

Other features (features.py): was training needed?

raw input      the same probe on the network's input: is the concept plain on the board?
untrained      the same probe on networks of the same build that have learned nothing, over several
               seeds: random features of a board are good features

Other labels, or no features (labels.py): what does the method find where there is nothing?

majority       the most common class, or the mean: no features at all
shuffled       the concept's labels, permuted over the canonical positions: chance, unless the
               split leaks
control task   labels that a hash of the board decides, drawn from the concept's own distribution
               (Hewitt and Liang 2019, section 2): nothing can be learned, so the fit to the
               *training* rows says how much a probe of this width can memorise, and on held-out
               rows it is chance

Networks whose answer is known (planted.py):

planted        a concept was put in by hand: into one direction, into one layer, where nothing
               reads it, or nowhere
"""
