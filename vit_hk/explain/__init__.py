"""Attribution: maps of patch relevance from attention, head statistics, and faithfulness."""
