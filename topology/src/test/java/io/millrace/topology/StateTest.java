package io.millrace.topology;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.schema.Lease;
import io.millrace.schema.LedgerState;
import io.millrace.schema.RoutingState;
import io.millrace.topology.ledger.LedgerTopology;
import io.millrace.topology.routing.RoutingTopology;
import org.junit.jupiter.api.Test;

/** A state's schema names the application whose id must change with it; the check against releases goes by that name. */
class StateTest {
    @Test
    void shouldNameTheApplicationInTheSchemaOfItsState() {
        assertThat(LedgerState.getClassSchema().getProp("application")).isEqualTo(LedgerTopology.APPLICATION);
        assertThat(RoutingState.getClassSchema().getProp("application")).isEqualTo(RoutingTopology.APPLICATION);
        assertThat(Lease.getClassSchema().getProp("application")).isEqualTo(RoutingTopology.APPLICATION);
    }
}
