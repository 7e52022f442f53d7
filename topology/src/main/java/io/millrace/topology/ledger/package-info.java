/** The ledger: the one writer of terminal records. */
@NullMarked
package io.millrace.topology.ledger;

import org.jspecify.annotations.NullMarked;
