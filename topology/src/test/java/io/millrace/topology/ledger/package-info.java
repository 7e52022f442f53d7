/** Tests. */
@NullMarked
package io.millrace.topology.ledger;

import org.jspecify.annotations.NullMarked;
