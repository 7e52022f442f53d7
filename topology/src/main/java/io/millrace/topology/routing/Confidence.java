package io.millrace.topology.routing;

import io.millrace.schema.Feature;
import java.util.List;
import java.util.OptionalDouble;

/**
 * How likely an answer is to be accepted. The prior is the first implementation; the learned model takes its place once there are
 * labels. Implementations are pure: the same arguments give the same estimate.
 */
public interface Confidence {
    /**
     * An estimate.
     *
     * @param local P(the local answer is accepted), 0..1; empty when nothing is known
     * @param remote P(the remote answer is accepted), 0..1; empty when nothing is known
     * @param kind prior, learned or none
     * @param modelVersion version of the model, empty for the prior
     */
    record Estimate(OptionalDouble local, OptionalDouble remote, String kind, String modelVersion) {}

    /** The estimate for a query with these features and this evidence. */
    Estimate estimate(List<Feature> features, OptionalDouble contextScore);

    /**
     * Confidence before anything was learned: a local model answers acceptably when the evidence holds the answer, so P(local) is the
     * fitted context score; P(remote) is a constant of the configuration.
     */
    record Prior(double remotePrior) implements Confidence {
        @Override
        public Estimate estimate(List<Feature> features, OptionalDouble contextScore) {
            return new Estimate(
                    contextScore, OptionalDouble.of(remotePrior), contextScore.isPresent() ? "prior" : "none", "");
        }
    }
}
