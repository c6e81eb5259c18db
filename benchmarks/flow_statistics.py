def alignment(q,p): yield ''
def statistics(q,p): yield ''
