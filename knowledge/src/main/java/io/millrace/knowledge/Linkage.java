package io.millrace.knowledge;

import io.millrace.knowledge.VectorIndex.Candidate;
import java.util.List;

/** What is known of passages from the answers that they served. The port to where feedback is kept. */
public interface Linkage {
    /** Nothing is known. */
    Linkage NONE = candidates -> candidates;

    /** The candidates in the same order, with facts that use and feedback give. Fast: it is asked for each question. */
    List<Candidate> link(List<Candidate> candidates);
}
